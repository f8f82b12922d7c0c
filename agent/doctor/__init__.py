"""What is wrong with this node before a notice finds it: one file per subject, each a few findings."""
