#!/bin/sh
# Apple's clang compiles OpenMP but brings no library: Homebrew's, for the compilers of the steps that follow.
set -eu
brew install libomp
prefix=$(brew --prefix libomp)
{
  echo "CPPFLAGS=-I$prefix/include"
  echo "CFLAGS=-I$prefix/include"
  echo "LDFLAGS=-L$prefix/lib"
} >> "$GITHUB_ENV"
