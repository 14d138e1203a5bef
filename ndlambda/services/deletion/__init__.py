"""Workers that erase the data of deleted things."""
