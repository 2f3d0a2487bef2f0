"""What is done in a database: so far, only asking whether SQL may run there."""
