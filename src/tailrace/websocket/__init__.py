"""The WebSocket side of a connection, and the only place that imports trio_websocket."""
