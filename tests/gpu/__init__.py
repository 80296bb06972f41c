"""What a CUDA device must do as the CPU does: encode, relate, recall, serve, and live with little memory.

Most tests here run twice. On the CPU they are small and belong to every run; on a device they are whole. Those of a
device are marked `gpu` and skipped by name where there is none. `make gpu` runs them, and then the benchmarks.
"""
