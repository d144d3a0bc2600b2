"""The database: tables, engines, transactions, migrations and backups."""
