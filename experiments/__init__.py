"""Questions, each with a command that answers it. The package never imports them."""
