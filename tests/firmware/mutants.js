// mutants.js makes each change of mutants.txt to a copy of the firmware and wants a test to fail.
//
// Copyright (c) 2026 the notepay authors
// SPDX-License-Identifier: MIT
const fs = require('fs'), os = require('os'), path = require('path');
const {execFile} = require('child_process');

const src = path.join(__dirname, '../../firmware/notepay/src');
const out = fs.mkdtempSync(path.join(os.tmpdir(), 'mutants'));
const sources = fs.readdirSync(src).filter(name => /^notepay.*\.[ch]$/.test(name));
const tests = fs.readdirSync(__dirname).filter(name => name.endsWith('.c') && name !== 'host.c');
const objects = tests.map(name => path.join(out, name + '.o'));

// Each mutant is "## name", "@@ file", and pairs of lines that begin with "-" and "+".
function read(file) {
	const all = [];
	for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
		const last = all[all.length - 1];
		if (line.startsWith('## ')) all.push({name: line.slice(3), edits: []});
		else if (line.startsWith('@@ ')) last.edits.push({file: line.slice(3), from: [], to: []});
		else if (line.startsWith('-')) last.edits[last.edits.length - 1].from.push(line.slice(1));
		else if (line.startsWith('+')) last.edits[last.edits.length - 1].to.push(line.slice(1));
	}
	return all;
}

function run(command, args, options) {
	return new Promise(resolve => execFile(command, args, options, (error, stdout, stderr) =>
		resolve({failed: !!error, timeout: !!error && error.killed, said: stdout + stderr})));
}

async function judge(mutant, dir) {
	fs.mkdirSync(dir);
	for (const name of sources) fs.copyFileSync(path.join(src, name), path.join(dir, name));
	for (const {file, from, to} of mutant.edits) {
		const target = path.join(dir, file), parts = fs.readFileSync(target, 'utf8').split(from.join('\n'));
		if (parts.length !== 2) return `the text to change is there ${parts.length - 1} times`;
		fs.writeFileSync(target, parts.join(to.join('\n')));
	}
	const program = path.join(dir, 'tests');
	const built = await run('gcc', ['-std=c99', '-O1', '-w', '-I' + dir, ...objects, path.join(dir, 'notepay.c'),
		'-o', program]);
	if (built.failed) return 'it does not compile:\n' + built.said;
	const env = {...process.env, FIRMWARE_STOP: '1', FIRMWARE_CUTS: '0', FIRMWARE_HISTORIES: '600', FIRMWARE_FUZZ: '500'};
	const quick = await run(program, [], {env, timeout: 120000});
	return quick.failed ? '' : 'no test fails';
}

async function main() {
	const mutants = read(path.join(__dirname, 'mutants.txt'));
	let next = 0, bad = 0;
	const compiled = await Promise.all(tests.map((name, i) => run('gcc',
		['-std=c99', '-O1', '-w', '-I' + src, '-c', path.join(__dirname, name), '-o', objects[i]])));
	for (const {failed, said} of compiled) if (failed) throw new Error(said);
	async function worker() {
		while (next < mutants.length) {
			const n = next++, why = await judge(mutants[n], path.join(out, String(n)));
			if (why) {
				bad++;
				console.log(`  FAIL ${mutants[n].name}: ${why}`);
			}
		}
	}
	await Promise.all([worker(), worker()]);
	fs.rmSync(out, {recursive: true});
	console.log(`  ${mutants.length - bad} of ${mutants.length} mutants are caught`);
	process.exit(bad || mutants.length === 0 ? 1 : 0);
}

main();
