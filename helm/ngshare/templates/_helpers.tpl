{{- define "ngshare.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ngshare.fullname" -}}
{{- $name := include "ngshare.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ngshare.selectorLabels" -}}
{{- $own := dict "app.kubernetes.io/name" (include "ngshare.name" .) "app.kubernetes.io/instance" .Release.Name -}}
{{- merge (dict) (.Values.deployment.selectorLabels | default dict) $own | toYaml -}}
{{- end -}}

{{- define "ngshare.labels" -}}
{{ include "ngshare.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ngshare.secretName" -}}
{{- .Values.ngshare.existingSecret | default (include "ngshare.fullname" .) -}}
{{- end -}}

{{- define "ngshare.secretKey" -}}
{{- if .Values.ngshare.existingSecret }}{{ .Values.ngshare.existingSecretKey }}{{ else }}token{{ end -}}
{{- end -}}

{{/* Not empty when the records are kept in PostgreSQL. */}}
{{- define "ngshare.db.postgres" -}}
{{- or .Values.ngshare.database_url .Values.ngshare.databaseSecret -}}
{{- end -}}

{{/* Why there can be no more than one pod; empty when there can. */}}
{{- define "ngshare.alone" -}}
{{- if not (include "ngshare.db.postgres" .) -}}
ngshare keeps its records in one SQLite database on one volume, and two pods that write it at once can lose or damage submissions. Give it a PostgreSQL database by ngshare.databaseSecret or ngshare.database_url, or keep it at 1.
{{- else if not (has "ReadWriteMany" .Values.pvc.accessModes) -}}
all pods need the files of all: pvc.accessModes is {{ join ", " .Values.pvc.accessModes }}, and a volume that only one node mounts would leave the others waiting for it for ever. Use a volume of ReadWriteMany, and say so in pvc.accessModes, also for an existing claim; or keep it at 1.
{{- end -}}
{{- end -}}

{{- define "ngshare.claimName" -}}
{{- .Values.pvc.existingClaim | default (include "ngshare.fullname" .) -}}
{{- end -}}

{{- define "ngshare.clientId" -}}
{{- .Values.ngshare.oauth_client_id | default "service-ngshare" -}}
{{- end -}}

{{/* The Hub's base URL with a slash at both ends, however it was written. */}}
{{- define "ngshare.baseUrl" -}}
{{- $path := trimAll "/" .Values.ngshare.hub_base_url -}}
{{- if $path }}/{{ $path }}/{{ else }}/{{ end -}}
{{- end -}}

{{- define "ngshare.hubApiUrl" -}}
{{- .Values.ngshare.hub_api_url | default (printf "http://hub:8081%shub/api" (include "ngshare.baseUrl" .)) -}}
{{- end -}}

{{- define "ngshare.serviceUrl" -}}
http://{{ include "ngshare.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.deployment.port }}
{{- end -}}

{{/* Never include this twice in one render: a token that is new differs each time. */}}
{{- define "ngshare.token" -}}
{{- $installed := lookup "v1" "Secret" .Release.Namespace (include "ngshare.fullname" .) -}}
{{- $kept := dig "data" "token" "" ($installed | default dict) -}}
{{- if .Values.ngshare.hub_api_token -}}
{{- .Values.ngshare.hub_api_token -}}
{{- else if $kept -}}
{{- b64dec $kept -}}
{{- else -}}
{{- randAlphaNum 64 | sha256sum -}}
{{- end -}}
{{- end -}}

{{/* Arguments that have a default of the service's own are left out, so that ngshare.args can give them. */}}
{{- define "ngshare.args" -}}
{{- $admins := .Values.ngshare.admins -}}
{{- if kindIs "slice" $admins }}{{ $admins = join "," $admins }}{{ end -}}
{{- $args := list -}}
{{- if $admins }}{{ $args = concat $args (list "--admins" $admins) }}{{ end -}}
{{- if .Values.ngshare.debug }}{{ $args = append $args "--debug" }}{{ end -}}
{{- if not .Values.ngshare.upgrade_db }}{{ $args = append $args "--no-upgrade-db" }}{{ end -}}
{{- concat $args (.Values.ngshare.args | default list) | default list | toYaml -}}
{{- end -}}

{{/* What JupyterHub sets for a service that it starts itself, and the limits of malloc as ngshare.hub.configure_hub sets them; a variable of ngshare.env replaces ours of that name. */}}
{{- define "ngshare.env" -}}
{{- $base := include "ngshare.baseUrl" . -}}
{{- $token := dict "name" (include "ngshare.secretName" .) "key" (include "ngshare.secretKey" .) -}}
{{- $own := list
  (dict "name" "JUPYTERHUB_SERVICE_NAME" "value" "ngshare")
  (dict "name" "JUPYTERHUB_SERVICE_URL" "value" (printf "http://0.0.0.0:%d" (int .Values.deployment.port)))
  (dict "name" "JUPYTERHUB_SERVICE_PREFIX" "value" (printf "%sservices/ngshare/" $base))
  (dict "name" "JUPYTERHUB_BASE_URL" "value" $base)
  (dict "name" "JUPYTERHUB_API_URL" "value" (include "ngshare.hubApiUrl" .))
  (dict "name" "JUPYTERHUB_API_TOKEN" "valueFrom" (dict "secretKeyRef" $token))
  (dict "name" "JUPYTERHUB_CLIENT_ID" "value" (include "ngshare.clientId" .))
  (dict "name" "JUPYTERHUB_OAUTH_ACCESS_SCOPES" "value" `["access:services", "access:services!service=ngshare"]`)
  (dict "name" "MALLOC_ARENA_MAX" "value" "2")
  (dict "name" "MALLOC_MMAP_THRESHOLD_" "value" "4194304")
  (dict "name" "MALLOC_TRIM_THRESHOLD_" "value" "16777216")
-}}
{{- if include "ngshare.db.postgres" . -}}
  {{- $secret := .Values.ngshare.databaseSecret -}}
  {{- $url := dict "name" (include "ngshare.fullname" .) "key" "database" -}}
  {{- if $secret }}{{ $url = dict "name" $secret "key" .Values.ngshare.databaseSecretKey }}{{ end -}}
  {{- $own = append $own (dict "name" "NGSHARE_DATABASE" "valueFrom" (dict "secretKeyRef" $url)) -}}
{{- end -}}
{{- $extra := .Values.ngshare.env | default list -}}
{{- if kindIs "map" $extra -}}
  {{- $entries := list -}}
  {{- range $name, $value := $extra -}}
    {{- if kindIs "map" $value -}}
      {{- $entries = append $entries (merge (dict "name" $name) $value) -}}
    {{- else -}}
      {{- /* toJson keeps a large number from becoming 1e+06. */ -}}
      {{- $entries = append $entries (dict "name" $name "value" (kindIs "string" $value | ternary $value (toJson $value))) -}}
    {{- end -}}
  {{- end -}}
  {{- $extra = $entries -}}
{{- end -}}
{{- $replaced := list -}}
{{- range $extra }}{{ $replaced = append $replaced .name }}{{ end -}}
{{- $env := list -}}
{{- range $own }}{{ if not (has .name $replaced) }}{{ $env = append $env . }}{{ end }}{{ end -}}
{{- concat $env $extra | toYaml -}}
{{- end -}}
