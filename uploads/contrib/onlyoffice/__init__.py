"""What a portal needs that speaks ONLYOFFICE's protocol in views of its own, too."""
