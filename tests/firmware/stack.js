// stack.js prints how deep the calls of C files can go, from the graphs that gcc -fcallgraph-info=su
// writes. Calls through pointers (the port and the machine) count nothing.
//
// Copyright (c) 2026 the notepay authors
// SPDX-License-Identifier: MIT
const text = process.argv.slice(2).map(name => require('fs').readFileSync(name, 'utf8')).join('\n');
const size = {}, calls = {};
for (const [, name, bytes] of text.matchAll(/node: \{ title: "([^"]+)" label: "[^"]*?(?:\\n(\d+) bytes[^"]*)?"/g))
	size[name] = Math.max(size[name] || 0, Number(bytes || 0)); // 0 where another file only calls it
for (const [, from, to] of text.matchAll(/edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"/g))
	(calls[from] ||= new Set()).add(to);
function depth(name, path = []) {
	if (path.includes(name)) throw new Error('recursion: ' + [...path, name].join(' '));
	let deepest = 0;
	for (const next of calls[name] || []) deepest = Math.max(deepest, depth(next, [...path, name]));
	return (size[name] || 0) + deepest;
}
const all = Object.keys(size).map(depth_of => depth(depth_of));
if (all.length === 0) throw new Error('no functions in ' + process.argv[2]);
console.log(Math.max(...all));
