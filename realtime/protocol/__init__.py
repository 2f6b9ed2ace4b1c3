"""The Phoenix Channels protocol, pure: no Django, asyncio, Redis or clock in this room."""
