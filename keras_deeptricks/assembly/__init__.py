"""What recipes and searches are assembled from: networks, data, and the course of a training."""
