"""The commands that instructors and students run in their own servers on the Hub.

``ngshare course``, ``ngshare doctor`` and ``ngshare receipt`` reach the service over HTTP, as the
plugin does; they need neither its database nor its files.
"""

SUMMARIES = {
    "course": "Create courses, list and change their instructors and students",
    "doctor": "Check everything from here to the service, and say what to mend",
    "receipt": "Show that the service still holds a submission as it was received",
}
"""The commands of ``ngshare`` that run in users' servers, each with its line in the help.

The module of the same name has a function ``main(arguments)``, which returns the exit code.
"""
