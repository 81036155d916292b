"""What the daemon costs and how evenly it delivers, measured on this machine beside the bare decoder and encoder."""
