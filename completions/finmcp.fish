complete --keep-order --exclusive --command finmcp --arguments "(FINMCP_COMPLETE=fish finmcp -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
