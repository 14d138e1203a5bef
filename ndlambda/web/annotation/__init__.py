"""What routes of annotation share."""
