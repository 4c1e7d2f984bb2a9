"""`bench online`: what memory is worth along a stream, against everything else that could be done there."""
