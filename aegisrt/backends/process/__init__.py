"""Jobs in a child process, with limits on time, memory and silence."""
