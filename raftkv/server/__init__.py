"""One member: the loop that drives consensus, applies what is committed and answers who waits."""
