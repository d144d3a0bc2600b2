"""The database: tables, engine, transactions, migrations, copies."""
