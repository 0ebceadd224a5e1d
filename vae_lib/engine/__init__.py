"""What makes training fast and large: devices, batches, layers, several processes. It acts on the core from outside."""
