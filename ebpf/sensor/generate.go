package sensor

// Made with clang 14.0.6 and libbpf 1.1.2 (Debian 12); regenerate.sh checks
// that they still give the committed bytes.
//go:generate go tool -modfile=../../tools.mod bpf2go -target bpfel -type task_record -type move -cflags "-O2 -Wall -Werror -mcpu=v2 -fdebug-compilation-dir=." sched bpf/sched.bpf.c
