"""Files on disk: all or nothing, without pickle, checked when they are read."""
