"""The contract's services, one file each: requests in, core commands or views out."""
