"""`make bench`: what images cost, ours and others', in one run on one machine."""
