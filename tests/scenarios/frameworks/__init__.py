"""Collections that the frameworks' own classes make, through whole upgrades."""
