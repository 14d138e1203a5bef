"""Pure numpy on voxel arrays; nothing here knows of storage, channels or HTTP."""
