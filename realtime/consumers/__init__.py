"""How frames come in: Channels consumers, thin."""
