"""Chapter 6: what generated images leave out. Why a classifier trained on them alone is worse, and whether rare events
and unseen combinations are among them."""
