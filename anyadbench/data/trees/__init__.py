"""From a user's tree of files to checked scans."""
