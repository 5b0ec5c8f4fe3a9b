//! The transparency log: journals, sequencer, Merkle tree, signed checkpoints, verifier.
