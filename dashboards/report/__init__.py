"""The service level report as people get it: page, PDF, CSV. All three are made of one `content.Content`."""
