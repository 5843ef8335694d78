"""What starts by itself. The tick looks at the database and starts what is due."""
