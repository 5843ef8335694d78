"""What has been judged so far, as files that never change."""
