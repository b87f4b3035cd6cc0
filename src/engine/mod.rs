//! The ONLY module that knows Engine.IO and WebSocket. It knows nothing of rooms, users or Redis.
