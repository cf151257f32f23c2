// Package processor says what the processor of this machine can compute.
package processor

import "golang.org/x/sys/cpu"

// Bfloat16 reports whether the processor multiplies numbers of 16 bits with the
// range of float32, by AVX512-BF16 or AMX. Without, TensorFlow's products of
// them are slow at best, and end the process at worst.
func Bfloat16() bool { return cpu.X86.HasAVX512BF16 || cpu.X86.HasAMXBF16 }

// OneDNNVariable is the variable of the environment with which TensorFlow, while it
// is loaded, is told to use oneDNN (1) or not (0).
const OneDNNVariable = "TF_ENABLE_ONEDNN_OPTS"

// OneDNN reports whether TensorFlow uses oneDNN without being asked to: on
// processors with instructions for neural networks.
func OneDNN() bool {
	return cpu.X86.HasAVX512VNNI || cpu.X86.HasAVX512BF16 || cpu.X86.HasAVXVNNI || cpu.X86.HasAMXTile
}
