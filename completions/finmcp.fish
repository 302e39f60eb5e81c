# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_finmcp_global_optspecs
    string join \n h/help V/version
end

function __fish_finmcp_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_finmcp_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_finmcp_using_subcommand
    set -l cmd (__fish_finmcp_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c finmcp -n "__fish_finmcp_needs_command" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_needs_command" -s V -l version -d 'Print version'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "login" -d 'Sign in, and keep the credential in the system\'s keychain'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "token" -d 'Print a fresh access token, and nothing else'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "serve" -d 'Speak MCP on stdin and stdout, and forward to the server with a fresh token'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "status" -d 'Show whom you are signed in as, and where'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "doctor" -d 'Look at each step from the settings to the list of tools: what is wrong, and what to do'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "logout" -d 'Revoke a credential and forget it'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "tools" -d 'List a server\'s tools, and what they take'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "call" -d 'Call a tool, once, and print its result'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "demo" -d 'See it all work on stand-ins of the vendors inside this program, with no account'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "man" -d 'Print the manual page'
complete -c finmcp -n "__fish_finmcp_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l profile -d 'The name to keep this sign-in under, for a second account or server' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l grant -d 'How to sign in; the preset or the server decides otherwise' -r -f -a "authorization-code\t'A person signs in with a browser'
client-credentials\t'A program signs in with a client secret'
device-code\t'A person signs in on another device, and enters a code there'
jwt-bearer\t'Somebody else says who signs in: a platform, or an identity provider (RFC 7523)'"
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l client-id -d 'A client identifier that the vendor gave you' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l client-secret-file -d 'A file with the client secret, or - for stdin (FINMCP_CLIENT_SECRET works too)' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l private-key-file -d 'A file with the client\'s private key in PEM, or - for stdin: it signs, and is never sent' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l client-secret -d 'Not accepted: whatever is typed as an argument can be seen by others' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l client-metadata-url -d 'A document about the client that you publish, for servers that read such' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l assertion-file -d 'A file with a JWT that says who signs in, such as a workload\'s token; it is read anew for each access token' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l identity-provider -d 'Your company\'s identity provider, which grants access in a person\'s name (enterprise-managed authorization)' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l identity-provider-client-id -d 'The client identifier there' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l identity-provider-client-secret-file -d 'A file with the client secret there, or - for stdin' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l id-token-file -d 'A file with the person\'s ID token from there; it is read anew for each access token' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l business-id -d 'Limit the token to one business' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l scope -d 'A scope to ask for; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l param -d 'A further parameter for the authorization server; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l resource -d 'The resource parameter, in place of the server\'s own; none to leave it out' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l token-endpoint -d 'The token endpoint: nothing is discovered then' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l issuer -d 'The authorization server to expect' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l port -d 'The port on 127.0.0.1 that the browser comes back to' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l timeout -d 'How long to wait for the person, in seconds' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l import -d 'Take over the sign-in that another program keeps in plain text' -r -f -a "mcp-remote\t'The npm package mcp-remote, whose files are in ~/.mcp-auth'"
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l dpop -d 'Bind the tokens to a key that stays here (DPoP), also where the server does not ask for it'
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l allow-private-network -d 'Let this server name others in private networks, such as your company\'s authorization server'
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l no-browser -d 'Open nothing: print the address, and read from stdin the one that the browser ends on'
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l delete-imported -d 'Delete the other program\'s files for this server without asking'
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -l force -d 'Register a new client with the server, and replace a saved profile of that name that belongs to another one'
complete -c finmcp -n "__fish_finmcp_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l profile -d 'The name to keep this sign-in under, for a second account or server' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l min-ttl -d 'How long it must still be valid at the least, in seconds' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l json -d 'As JSON, with its expiry and scope'
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l header -d 'As an Authorization header'
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -l force-refresh -d 'Get a new one even if the old one is still valid'
complete -c finmcp -n "__fish_finmcp_using_subcommand token" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l profile -d 'The name to keep this sign-in under, for a second account or server' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l sign-in -d 'What to do when somebody has to sign in' -r -f -a "tool\t'Lists a tool that gives the address where a person signs in'
auto\t'Opens the browser, one for all finmcp processes, and lets the request wait'
off\t'Answers with the command to run'"
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l timeout -d 'How long a request may take, in seconds' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l grant -d 'How to sign in; the preset or the server decides otherwise' -r -f -a "authorization-code\t'A person signs in with a browser'
client-credentials\t'A program signs in with a client secret'
device-code\t'A person signs in on another device, and enters a code there'
jwt-bearer\t'Somebody else says who signs in: a platform, or an identity provider (RFC 7523)'"
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l client-id -d 'A client identifier that the vendor gave you' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l client-secret-file -d 'A file with the client secret, or - for stdin (FINMCP_CLIENT_SECRET works too)' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l private-key-file -d 'A file with the client\'s private key in PEM, or - for stdin: it signs, and is never sent' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l client-secret -d 'Not accepted: whatever is typed as an argument can be seen by others' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l client-metadata-url -d 'A document about the client that you publish, for servers that read such' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l assertion-file -d 'A file with a JWT that says who signs in, such as a workload\'s token; it is read anew for each access token' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l identity-provider -d 'Your company\'s identity provider, which grants access in a person\'s name (enterprise-managed authorization)' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l identity-provider-client-id -d 'The client identifier there' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l identity-provider-client-secret-file -d 'A file with the client secret there, or - for stdin' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l id-token-file -d 'A file with the person\'s ID token from there; it is read anew for each access token' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l business-id -d 'Limit the token to one business' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l scope -d 'A scope to ask for; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l param -d 'A further parameter for the authorization server; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l resource -d 'The resource parameter, in place of the server\'s own; none to leave it out' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l token-endpoint -d 'The token endpoint: nothing is discovered then' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l issuer -d 'The authorization server to expect' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l allow-tool -d 'Let only tools of such names through, such as \'get_*\'; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l deny-tool -d 'Keep tools of such names away, whatever else is allowed; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l audit-log -d 'Append a line of JSON to this file for each call of a tool' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l dpop -d 'Bind the tokens to a key that stays here (DPoP), also where the server does not ask for it'
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l allow-private-network -d 'Let this server name others in private networks, such as your company\'s authorization server'
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l read-only -d 'Let only tools through that do nothing but read, as the server or its vendor says'
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l audit-arguments -d 'Write the values of the arguments there too'
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -l label -d 'Show the profile and the environment in the server\'s title and instructions'
complete -c finmcp -n "__fish_finmcp_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c finmcp -n "__fish_finmcp_using_subcommand status" -l json -d 'As JSON'
complete -c finmcp -n "__fish_finmcp_using_subcommand status" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand doctor" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand doctor" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand doctor" -l profile -d 'The name to keep this sign-in under, for a second account or server' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand doctor" -l json -d 'As JSON'
complete -c finmcp -n "__fish_finmcp_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand logout" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand logout" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand logout" -l profile -d 'The name to keep this sign-in under, for a second account or server' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand logout" -l all -d 'Every server you are signed in to'
complete -c finmcp -n "__fish_finmcp_using_subcommand logout" -l no-revoke -d 'Forget it here, and tell the server nothing'
complete -c finmcp -n "__fish_finmcp_using_subcommand logout" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -l profile -d 'The name to keep this sign-in under, for a second account or server' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -l tool -d 'Show this tool only; may be repeated' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -l timeout -d 'How long a request may take, in seconds' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -l json -d 'As JSON: the list as the server wrote it'
complete -c finmcp -n "__fish_finmcp_using_subcommand tools" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -l json -d 'Print the result as JSON, as the server wrote it; with -, read the arguments from stdin as a JSON object, too' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -s o -l output -d 'Keep the image, sound or file of the result here; of several, the next ones as FILE-2 and so on' -r -F
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -l timeout -d 'How long a request may take, in seconds' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -s s -l server -d 'A preset, a saved profile, or an https URL' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -l env -d 'The vendor\'s environment, such as sandbox' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -l url -d 'The MCP endpoint, in place of the preset\'s own' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -l profile -d 'The name of the sign-in, where there are several' -r
complete -c finmcp -n "__fish_finmcp_using_subcommand call" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand demo" -l browser -d 'Sign in with your own browser, in place of the demo\'s'
complete -c finmcp -n "__fish_finmcp_using_subcommand demo" -l keep -d 'Stay up, and print the entry for an AI client'
complete -c finmcp -n "__fish_finmcp_using_subcommand demo" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand completions" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand man" -s h -l help -d 'Print help'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "login" -d 'Sign in, and keep the credential in the system\'s keychain'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "token" -d 'Print a fresh access token, and nothing else'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "serve" -d 'Speak MCP on stdin and stdout, and forward to the server with a fresh token'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "status" -d 'Show whom you are signed in as, and where'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "doctor" -d 'Look at each step from the settings to the list of tools: what is wrong, and what to do'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "logout" -d 'Revoke a credential and forget it'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "tools" -d 'List a server\'s tools, and what they take'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "call" -d 'Call a tool, once, and print its result'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "demo" -d 'See it all work on stand-ins of the vendors inside this program, with no account'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "completions" -d 'Print a completion script'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "man" -d 'Print the manual page'
complete -c finmcp -n "__fish_finmcp_using_subcommand help; and not __fish_seen_subcommand_from login token serve status doctor logout tools call demo completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
