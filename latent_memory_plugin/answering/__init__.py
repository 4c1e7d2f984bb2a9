"""Using what was learnt, during the episode: find, route, ask, chat."""
