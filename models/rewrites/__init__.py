"""Rewrites of a graph that keep its outputs and let TF-MOT quantize and prune more of it, one idea a file."""
