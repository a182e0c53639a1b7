// Package none holds nothing: the module is there for the version of the tool in go.mod.
package none
