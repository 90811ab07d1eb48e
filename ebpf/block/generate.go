package block

// Made with clang 14.0.6 and libbpf 1.1.2 (Debian 12); ../regenerate.sh checks
// that they still give the committed bytes.
//go:generate go tool -modfile=../../tools.mod bpf2go -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v2 -fdebug-compilation-dir=." block bpf/block.bpf.c
//go:generate go tool -modfile=../../tools.mod bpf2go -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v2 -fdebug-compilation-dir=." empty bpf/empty.bpf.c
