// board_test.js DIR runs board.js with DIR/Washer.hex, as a maker without a board does. The Notecard at its port is a
// simple one; the demo's is tested with the compiled firmware in tests/machine.
//
// Copyright (c) 2026 the notepay authors
// SPDX-License-Identifier: MIT
const net = require('net');
const path = require('path');
const {spawn} = require('child_process');
const {Notecard} = require('./uno.js');

const LIMIT_MS = 180000; // for all of it, on a busy machine

let failed = 0;
function check(ok, text) {
	console.log(`  ${ok ? 'ok' : 'FAIL'} ${text}`);
	if (!ok) failed++;
}

const began = Date.now();
async function until(condition) {
	while (!condition() && Date.now() - began < LIMIT_MS) await new Promise(done => setTimeout(done, 20));
	return condition();
}

async function main() {
	const card = new Notecard();
	let connections = 0;
	const server = net.createServer(socket => {
		connections++;
		let text = '';
		socket.on('error', () => {});
		socket.on('data', data => {
			text += data;
			for (let end; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) {
				const line = text.slice(0, end).trim();
				if (line && !line.endsWith('}')) { // torn by the power cut
					socket.write('{"err":"cannot interpret JSON: unexpected end of JSON input {io}"}\r\n');
					continue;
				}
				const reply = card.reply(line, (Date.now() - began) / 1000);
				if (reply) socket.write(reply);
			}
		});
	});
	await new Promise(done => server.listen(0, '127.0.0.1', done));
	const board = spawn(process.execPath,
		[path.join(__dirname, 'board.js'), path.join(process.argv[2], 'Washer.hex'), String(server.address().port)]);
	let shown = '', ended = null;
	board.stdout.on('data', data => (shown += data));
	board.stderr.on('data', data => (shown += data));
	board.on('exit', code => (ended = code));
	const times = word => shown.split(word).length - 1;

	check(await until(() => card.lines.some(line => line.req === 'note.get')), 'board.js reads the queue');
	card.note({payment_status: 'completed', credit_id: 'cr_a', expires: 1790000600, duration_s: 2});
	check(await until(() => card.answers.length > 1 && times('relay off') === 1) && times('relay on') === 1 &&
		card.answers.join() === 'cr_a started,cr_a done', `a note switches the relay on and off: ${card.answers}`);
	card.note({payment_status: 'completed', credit_id: 'cr_b', expires: 1790000600, duration_s: 120});
	await until(() => times('relay on') === 2);
	board.stdin.write('\n');
	check(await until(() => times('power cut') === 1), 'Enter cuts the power');
	check(await until(() => times('relay on') === 3 && card.answers.includes('cr_b started')),
		`and the credit goes on: ${card.answers.slice(2)}`);
	check(connections === 1 && ended === null, 'on one connection');
	server.close();
	board.kill();

	const lost = spawn(process.execPath, [path.join(__dirname, 'board.js'), path.join(process.argv[2], 'Washer.hex'), '1']);
	let problem = '', code = null;
	lost.stderr.on('data', data => (problem += data));
	lost.on('exit', exit => (code = exit));
	check(await until(() => code !== null) && code === 1 && problem.includes('no demo at port 1'),
		`without a demo it says: ${problem.trim()}`);
	process.exit(failed ? 1 : 0);
}

main();
