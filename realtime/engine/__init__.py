"""The engine: the one room that talks to Redis or Valkey."""
