"""The one door to PostgreSQL itself: logins and the statements that we run."""
