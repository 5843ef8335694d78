"""What people ask one or two versions, without a comparison in mind."""
