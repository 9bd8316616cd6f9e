// Nothing: CMake compiles precompiled.h for a target that has a source.
