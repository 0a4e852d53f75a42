"""The store: keys, sessions, stored responses, usage and budgets, in SQLite or PostgreSQL.

    nouns (keys, usage, budgets, ...)  ->  desk (trio: waits, groups)  ->  database (SQL, in threads)

Nothing is imported here: `location` and `errors` are needed where there is no store, and SQLAlchemy, which
takes a tenth of a second and 15 MB, only where there is one. `store.Store` is the front.
"""
