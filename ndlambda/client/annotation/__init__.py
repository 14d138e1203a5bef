"""Client of annotation channels: objects, skeletons, graphs."""
