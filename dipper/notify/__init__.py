"""Notifications: incidents told to people's and customers' machines. See docs/notifications.md."""
