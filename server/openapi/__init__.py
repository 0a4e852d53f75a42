"""What this gateway serves, as an OpenAPI document and as a page. Nothing here is imported before somebody asks."""
