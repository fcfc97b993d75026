"""Vision-tower reuse: patches that have not changed take the features of an earlier version of themselves."""
